"""Logging in by way of an identity provider: OpenID Connect, the code flow with PKCE."""

from services.oidc.flow import Begun, Finished, begin, finish, redirect_url

__all__ = ["Begun", "Finished", "begin", "finish", "redirect_url"]
