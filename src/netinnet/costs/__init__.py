"""What a network costs: computed from its description, and measured."""
