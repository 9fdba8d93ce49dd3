"""Configurations that most tests need."""
from lib.ports import free_port


def start(weir, text, **options):
    """One whose listener the text describes, at PORT."""
    port = free_port()
    gate = weir(text.replace("PORT", str(port)), **options)
    gate.port = port
    return gate


def one_service(*servers, service="", route="", root=""):
    """Everything goes to one service, `shop`. servers: what has an .address, or how it is written in the file;
    service, route: more `key: value` of theirs, separated by commas; root: more lines."""
    texts = [s if isinstance(s, str) else s.address for s in servers]
    addresses = ", ".join(t if t.startswith("{") else f'"{t}"' for t in texts)
    return (f"{root}\n"
            f"routes: [{{match: /*, service: shop{', ' + route if route else ''}}}]\n"
            f"services: {{shop: {{servers: [{addresses}]{', ' + service if service else ''}}}}}\n")
