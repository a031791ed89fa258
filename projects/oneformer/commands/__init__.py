"""The sub-commands of ``oneformer``, one a file; ``oneformer_cli`` chooses among them."""
