"""Configurations that most tests need."""


def one_service(*servers, service="", route="", root=""):
    """Everything goes to one service, `shop`. service, route: more `key: value` of theirs, separated by commas;
    root: more lines."""
    addresses = ", ".join(s if isinstance(s, str) else s.address for s in servers)
    addresses = ", ".join(a if a.startswith("{") else f'"{a}"' for a in addresses.split(", "))
    return (f"{root}\n"
            f"routes: [{{match: /*, service: shop{', ' + route if route else ''}}}]\n"
            f"services: {{shop: {{servers: [{addresses}]{', ' + service if service else ''}}}}}\n")
