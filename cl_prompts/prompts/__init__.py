"""Parts of prompt methods: selectors, pools, prefixes and components."""
