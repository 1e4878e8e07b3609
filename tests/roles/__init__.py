"""The deploy role and the preview role, held against what AWS and the provider ask for, for every declared resource."""
