"""What makes an environment have the declared tables, screens and roles (`provisioner.Provisioner`)."""
