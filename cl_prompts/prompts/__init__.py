"""Parts of prompt methods: selectors, pools, prefixes and components, and their initial values."""
