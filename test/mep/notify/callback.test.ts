/** Which callbackReferences are read, and which are refused however they are spelled (B1, HOSTILE §4 SSRF)? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CallbackError, parseCallback } from "../../../mep/notify/callback.ts";

const refusal = (text: string): string => {
  try {
    parseCallback(text);
  } catch (error) {
    assert.instance(error, CallbackError, String(error));
    return (error as Error).message;
  }
  throw new Error(`${text} was taken`);
};

test("B1: a callback is read into what is connected to and what is said there", () => {
  assert.equal(parseCallback("https://Shop.example:8443/n?x=1"), {
    secure: true,
    host: "shop.example",
    port: 8443,
    path: "/n?x=1",
    authority: "shop.example:8443",
    origin: "https://shop.example:8443",
  });
  const literal = parseCallback("http://[2001:DB8:0::7]:80");
  assert.is(literal.host, "2001:db8::7");
  assert.is(literal.authority, "[2001:db8::7]");
  assert.is(literal.port, 80);
  assert.is(literal.path, "/");
  assert.is(parseCallback("http://10.61.0.7").host, "10.61.0.7");
  assert.is(parseCallback("https://bücher.example/".replace("ü", "%C3%BC")).host, "xn--bcher-kva.example");
});

test("B1: only http and https, without credentials, fragments, blanks and backslashes", () => {
  for (const text of [
    "",
    "10.61.0.7",
    "//10.61.0.7/",
    "ftp://10.61.0.7/",
    "file:///etc/passwd",
    "gopher://10.61.0.7/",
    "unix:/run/x.sock",
    "http:10.61.0.7/",
    "http:/10.61.0.7/",
    "http:///10.61.0.7/",
    "http://a b/",
    "http://10.61.0.7/a b",
    "http://10.61.0.7/\r\nX: y",
    "http://10.61.0.7\\@127.0.0.1/",
    "http://10.61.0.7/\\x",
    "http://10.61.0.7/#x",
    "http://\u0661\u0660.61.0.7/",
  ]) {
    refusal(text);
  }
  for (const text of [
    "http://user@10.61.0.7/",
    "http://user:pw@10.61.0.7/",
    "http://@10.61.0.7/",
    "http://10.61.0.7@evil/",
  ])
    assert.match(refusal(text), /credentials/);
  assert.match(refusal(`http://10.61.0.7/${"x".repeat(2048)}`), /longer/);
  assert.match(refusal("http://10.61.0.7:0/"), /port 0/);
  assert.match(refusal("http://10.61.0.7:65536/"), /cannot|can be read|URI/);
});

test("B1: an address has one spelling", () => {
  for (const text of [
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://0x7f.1/",
    "http://0x7f000001/",
    "http://127.1/",
    "http://127.0.1/",
    "http://010.61.0.7/",
    "http://10.61.0.7./",
    "http://%31%30.61.0.7/",
    "http://10.61.1792/",
  ]) {
    assert.match(refusal(text), /spells an address|host/, text);
  }
  for (const text of ["http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"]) assert.match(refusal(text), /IPv4/);
  for (const text of ["http://[fe80::1%25eth0]/", "http://[::1/", "http://1.2.3.4.5/", "http://256.1.1.1/"])
    refusal(text);
});

test("B1: names that mean the host itself, and what is no name", () => {
  for (const text of ["http://localhost/", "http://LOCALHOST:80/", "http://a.localhost/", "http://a..b/", "http://a./"])
    refusal(text);
  refusal("http://-a/");
  assert.is(parseCallback("http://app-1.mec_x.example/").host, "app-1.mec_x.example");
});

test("B1: whatever text comes, it is read or refused in words, and what is read names one host and port", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "http://",
      "https://",
      "127.0.0.1",
      "0x7f",
      "[::1]",
      "@",
      ":",
      "/",
      "\\",
      "#",
      "?",
      "%00",
      ".",
      "0",
      "\t",
    ),
    fc.string({ maxLength: 6 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const text = pieces.join("");
      try {
        const callback = parseCallback(text);
        const url = new URL(text);
        assert.is(url.username + url.password + url.hash, "");
        assert.ok(callback.port > 0 && callback.port < 65536);
        assert.match(callback.host, /^[a-z0-9_.:-]+$/);
      } catch (error) {
        if (!(error instanceof CallbackError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});

test.run();
