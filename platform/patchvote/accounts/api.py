"""API tokens over REST."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import authenticate
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from knox.models import get_token_model
from rest_framework import exceptions, serializers, status
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle
from rest_framework.views import APIView


class SignInThrottle(AnonRateThrottle):
    """The rate limit for token requests, per address."""

    scope = "sign-in"


class CredentialsSerializer(serializers.Serializer[Any]):
    """The credentials of a token request."""

    username = serializers.CharField()
    password = serializers.CharField(trim_whitespace=False, style={"input_type": "password"})


class TokenSerializer(serializers.Serializer[Any]):
    """A new token; it cannot be retrieved again."""

    token = serializers.CharField(read_only=True)
    expires_at = serializers.DateTimeField(read_only=True)


class TokenView(APIView):
    """Create a token. Send it as `Authorization: Token <token>`."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes = [SignInThrottle]
    parser_classes = [JSONParser, FormParser, MultiPartParser]

    @extend_schema(tags=["tokens"], request=CredentialsSerializer, responses={201: TokenSerializer}, auth=[])
    def post(self, request: Request) -> Response:
        """Create a token for a user name and a password."""
        credentials = CredentialsSerializer(data=request.data)
        credentials.is_valid(raise_exception=True)
        user = authenticate(request=request._request, **credentials.validated_data)  # noqa: SLF001 (what axes needs)
        if user is None:  # after too many failures, axes replaces the response by views.lockout_response
            raise InvalidCredentials
        instance, token = get_token_model().objects.create(user=user)
        answer = TokenSerializer({"token": token, "expires_at": instance.expiry})
        return Response(answer.data, status=status.HTTP_201_CREATED)


class InvalidCredentials(exceptions.APIException):
    """An error 401: the user name or the password is wrong."""

    status_code = status.HTTP_401_UNAUTHORIZED
    default_detail = _("The name or the password is wrong.")
    default_code = "invalid_credentials"
