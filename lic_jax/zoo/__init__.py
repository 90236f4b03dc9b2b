"""The model zoo: the models that ship, and what their files hold."""
