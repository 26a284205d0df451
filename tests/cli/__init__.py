"""What the `smspartner` command promises to people, to programs, and to their money."""
