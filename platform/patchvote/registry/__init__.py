"""Model versions, and the champion that analyses new cases."""
