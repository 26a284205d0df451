"""Tests of durable rentals."""
