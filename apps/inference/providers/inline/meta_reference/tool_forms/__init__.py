"""How families of models are told their tools, how they write calls, and how calls are read as they come."""
