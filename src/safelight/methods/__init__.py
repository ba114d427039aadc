"""The methods: one folder a task, one file a paper."""
