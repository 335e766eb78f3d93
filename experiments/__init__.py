"""Questions with recorded answers. `framework` runs them; each kind of question is a module beside it."""
