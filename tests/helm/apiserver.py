"""A cluster as far as `lookup` in a template sees it: an API server with some objects, which changes none."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Object = Mapping[str, Any]

KINDS = {
    "v1": {"ConfigMap": "configmaps"},
    "apps/v1": {"Deployment": "deployments", "ReplicaSet": "replicasets"},
}
"""The kinds it knows, by their group and version: what they are called in a path."""


@contextmanager
def cluster(objects: Sequence[Object] = ()) -> Iterator[str]:
    """The address of a server with these objects, all of them in one namespace."""
    answers = dict(_answers(objects))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
            body = json.dumps(found or status | {"reason": "NotFound"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _answers(objects: Sequence[Object]) -> Iterator[tuple[str, Object]]:
    for version, kinds in KINDS.items():
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        yield root, {"kind": "APIResourceList", "groupVersion": version, "resources": _resources(kinds)}
        for kind, plural in kinds.items():
            place = f"{root}/namespaces/default/{plural}"
            found = [one for one in objects if one["kind"] == kind]
            yield place, {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": found}
            for one in found:
                yield f"{place}/{one['metadata']['name']}", one


def _resources(kinds: Mapping[str, str]) -> list[Object]:
    verbs = ["get", "list"]
    return [
        {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
        for kind, plural in kinds.items()
    ]
