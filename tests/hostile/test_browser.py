"""Pages of other sites, and what a browser is told about answers."""

import base64
import csv
import hashlib
import io
import re
import time
import unittest

from harness import Server, documents, index, run

OWN = {"host": "localhost:7788"}


class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(index("browser", documents(50)), "--adapter", "none")
        draft = {"id": "trial", "method": "split", "salt": "1", "traffic_share": 1.0, "layer": "ranking",
                 "arms": [{"name": "a", "model": "first-stage", "weight": 1}, {"name": "b", "model": "none", "weight": 1}]}
        assert cls.server.json("POST", "/v1/experiments", draft)[0] == 201
        assert cls.server.request("POST", "/v1/experiments/trial/start")[0] == 200

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_other_hosts_are_refused(self):
        for host in ["evil.example", "evil.example:7788", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "lorank", "0.0.0.0",
                     "localhost@evil.example", "[::2]:7788", "2130706433"]:
            for method, path in [("GET", "/v1/search?q=amber"), ("GET", "/"), ("POST", "/v1/search"), ("DELETE", "/v1/documents/d1")]:
                status, body, _ = self.server.request(method, path, headers={"host": host})
                self.assertEqual(status, 403, (host, method, path, body))
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:7788", "app.localhost", "localhost."]:
            self.assertEqual(self.server.request("GET", "/health", headers={"host": host})[0], 200, host)

    def test_pages_of_other_sites_change_nothing(self):
        for headers in [{"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:3000"},
                        {"origin": "http://localhost"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
                        {"origin": "http://localhost:7788", "sec-fetch-site": "cross-site"}, {"origin": "http://127.0.0.1:7788"},
                        {"origin": "https://localhost:7788.evil.example"}, {"origin": "http://localhost:7788.evil.example"}]:
            for content_type in ["text/plain", "application/json", "application/x-www-form-urlencoded"]:
                for method, path in [("POST", "/v1/experiments/trial/stop"), ("DELETE", "/v1/documents/d1"), ("POST", "/v1/documents"),
                                     ("PATCH", "/v1/experiments/trial"), ("POST", "/v1/events")]:
                    status, body, _ = self.server.request(method, path, "{}", {**OWN, "content-type": content_type, **headers})
                    self.assertEqual(status, 403, (headers, method, path, body))
        self.assertEqual(self.server.json("GET", "/v1/experiments/trial")[1]["state"], "running")
        own = {**OWN, "origin": "http://localhost:7788", "sec-fetch-site": "same-origin"}
        self.assertEqual(self.server.request("DELETE", "/v1/documents/d49", headers=own)[0], 204)

    def test_every_answer_has_its_headers(self):
        for path in ["/", "/docs", "/docs/style.css", "/assets/app.js", "/openapi.json", "/health", "/metrics", "/nowhere", "/v1/search?q=a",
                     "/v1/search", "/v1/experiments/trial/report?format=html", "/v1/experiments/trial/export"]:
            _, _, headers = self.server.request("GET", path)
            self.assertEqual(headers["x-content-type-options"], "nosniff", path)
            self.assertEqual(headers["referrer-policy"], "no-referrer", path)
            self.assertIn("frame-ancestors 'none'", headers["content-security-policy"], path)
            self.assertNotIn("unsafe", headers["content-security-policy"], path)
        _, page, headers = self.server.request("GET", "/v1/experiments/trial/report?format=html")
        style = re.search(r"<style>(.*?)</style>", page.decode(), re.S)[1]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self.assertIn(f"'sha256-{digest}'", headers["content-security-policy"])

    def test_no_cell_of_an_export_is_a_formula(self):
        queries = ['=HYPERLINK("http://evil.example","x")', "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "'=1", "＝1"]
        ids = [self.server.search(query)[1]["request_id"] for query in queries]
        events = [{"action_name": "=click", "query_id": id, "timestamp": "2026-01-01T00:00:00Z", "message": "@x", "client_id": "-1"}
                  for id in ids]
        self.server.request("POST", "/v1/events", events)
        time.sleep(1)
        for what in ("queries", "events"):
            _, body, _ = self.server.request("GET", f"/v1/experiments/trial/export?what={what}")
            rows = list(csv.reader(io.StringIO(body.decode(), newline="")))
            for row in rows[1:]:
                for name, cell in zip(rows[0], row):
                    self.assertFalse(cell and cell[0] in "=@\t\r\n＝＋－＠", (name, cell))
                    if cell and cell[0] in "+-":
                        float(cell)
        _, body, _ = self.server.request("GET", "/v1/experiments/trial/export")
        cells = {row["query"] for row in csv.DictReader(io.StringIO(body.decode(), newline=""))}
        self.assertTrue({"'" + query for query in queries} <= cells, cells)

    def test_a_change_is_made_whole_or_not_at_all(self):
        before = self.server.json("GET", "/v1/experiments/trial")[1]
        for change in [{"end_millis": 9_999_999_999_999, "traffic_share": 0.1}, {"end_millis": 9_999_999_999_999, "traffic_share": 7},
                       {"end_millis": 1, "traffic_share": 1.0}]:
            self.assertGreaterEqual(self.server.json("PATCH", "/v1/experiments/trial", change)[0], 400)
            self.assertEqual(self.server.json("GET", "/v1/experiments/trial")[1], before)

    def test_messages_have_a_length(self):
        long = "x" * 40_000
        for method, path, body in [("GET", f"/{long}", None), ("GET", f"/v1/search?q=a&adapter={long}", None),
                                   ("POST", "/v1/search", {"query": "a", long: 1}), ("POST", "/v2/rerank", {"query": "a", long: 1}),
                                   ("PUT", f"/v1/adapters/{long}", {"source": "x"}), ("PUT", "/v1/adapters/a", {"source": long * 20}),
                                   ("GET", f"/v1/experiments/{long}", None), ("GET", f"/v1/documents/{long}", None)]:
            status, answer, _ = self.server.request(method, path, body)
            self.assertTrue(400 <= status < 500 and len(answer) < 4_000, (method, path[:40], status, len(answer)))


if __name__ == "__main__":
    unittest.main()
