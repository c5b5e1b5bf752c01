"""The ground floor: what every app may use and what belongs to none."""
