"""What happens after a visible change is committed: browsers are told, the comment is due."""
