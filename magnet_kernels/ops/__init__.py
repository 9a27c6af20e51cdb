"""One file per operator: its public function, its checks, its schema, fake and autograd."""
