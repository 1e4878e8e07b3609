"""The platform of another company: every value, name and key that a team can choose differs from the example's."""
