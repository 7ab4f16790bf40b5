"""What a prompt method is made of: selectors, pools, prefixes and components, and how they
begin."""
