"""Binary layouts that workers write and the API reads."""
