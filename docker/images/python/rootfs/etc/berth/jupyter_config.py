"""Jupyter behind Berth's proxy: who may come in was decided there, so there is no second password."""

c = get_config()  # noqa: F821  (given by Jupyter)

c.IdentityProvider.token = ""
c.PasswordIdentityProvider.hashed_password = ""
c.PasswordIdentityProvider.password_required = False
# The Host header is the proxy's. The XSRF check and the check of a websocket's Origin against it stay on.
c.ServerApp.allow_remote_access = True
c.ServerApp.trust_xheaders = True
c.ServerApp.open_browser = False
# A port that is taken is an error that should be seen, not a reason to listen where nobody looks.
c.ServerApp.port_retries = 0
c.ServerApp.root_dir = "/home/work"
c.ServerApp.terminado_settings = {"shell_command": ["/bin/bash", "-l"]}
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
