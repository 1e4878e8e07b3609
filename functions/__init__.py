"""What runs in Lambda, and how it is packaged. Nothing in here knows the components."""
