"""What a person runs once in each account, before the first `pulumi up`."""
