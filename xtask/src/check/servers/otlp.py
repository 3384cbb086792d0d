"""A receiver of OTLP logs that decodes bodies by the published definitions and takes nothing that they do not know.

Says where it listens; then, for each request that it took, all of it as one line of JSON.
"""

import gzip
import http.server
import json

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            assert self.path == "/v1/logs" and self.headers["Content-Type"] == "application/json"
            logs = json_format.Parse(body, ExportLogsServiceRequest())
            print(json.dumps(json_format.MessageToDict(logs)), flush=True)
            status, words = 200, b"{}"
        except Exception as error:
            status, words = 400, repr(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
