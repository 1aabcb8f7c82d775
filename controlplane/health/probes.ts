/**
 * Does a target answer as it should, asked once?
 *
 *   tcp    the connection is accepted; nothing is sent
 *   http   GET, HTTP/1.1, one connection per request; 200 to 399 is right, the body is not read
 *   icmp   an echo comes back (echo-socket.ts)
 *
 * Probes leave as the appliance's own traffic, by its routing, from its address toward the apps. Whatever a probe opens is
 * closed when it ends, whichever way. With health/echo-socket.ts the only file that connects to apps.
 */
import { request } from "node:http";
import { connect } from "node:net";
import type { Health } from "../intents/model.ts";
import type { EchoSocket } from "./echo-socket.ts";
import type { Probe, Target } from "./watcher.ts";

const whyAborted = (signal: AbortSignal): Error =>
  signal.reason instanceof Error ? signal.reason : new Error("the probe was ended");

/** `ECONNREFUSED` as people say it; addresses are left out, the reader has them. */
function saidBy(error: NodeJS.ErrnoException): Error {
  const known: Record<string, string> = {
    ECONNREFUSED: "connection refused",
    ECONNRESET: "connection reset",
    EHOSTUNREACH: "no route to the host, or it does not answer on its network",
    ENETUNREACH: "no route to its network",
  };
  return new Error(known[error.code ?? ""] ?? error.message);
}

function tcp({ address, port = 0 }: Target, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port });
    const end = (error?: Error) => {
      signal.removeEventListener("abort", abort);
      socket.destroy();
      if (error) reject(error);
      else resolve();
    };
    const abort = () => end(whyAborted(signal));
    signal.addEventListener("abort", abort);
    socket.once("connect", () => end());
    socket.on("error", (error) => end(saidBy(error)));
  });
}

function http({ address, port = 80 }: Target, { path = "/", host }: Health, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = {
      "user-agent": "offramp",
      accept: "*/*",
      connection: "close",
      ...(host !== undefined && { host }),
    };
    const asked = request({ host: address, port, path, method: "GET", agent: false, headers });
    const end = (error?: Error) => {
      signal.removeEventListener("abort", abort);
      asked.destroy();
      if (error) reject(error);
      else resolve();
    };
    const abort = () => end(whyAborted(signal));
    signal.addEventListener("abort", abort);
    asked.once("response", ({ statusCode = 0 }) =>
      end(statusCode >= 200 && statusCode < 400 ? undefined : new Error(`HTTP status ${statusCode}`)),
    );
    asked.on("error", (error) => end(saidBy(error)));
    asked.end();
  });
}

/** `echo` is opened by whoever owns it, and closed there. */
export const probeWith =
  (echo: Pick<EchoSocket, "ask">): Probe =>
  (target, health, signal) => {
    if (signal.aborted) return Promise.reject(whyAborted(signal));
    if (health.type === "tcp") return tcp(target, signal);
    if (health.type === "http") return http(target, health, signal);
    return echo.ask(target.address, signal);
  };
