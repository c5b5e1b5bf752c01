"""Model versions and the champion that serves new cases."""
