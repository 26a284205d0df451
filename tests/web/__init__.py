"""What README's web services promise to their browsers, their owner, and the owner's money."""
