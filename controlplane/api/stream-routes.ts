/**
 * What happens, as it happens: events as server-sent events, packets as a pcapng stream.
 *
 * Both last as long as the reader stays. A reader that does not keep up is let go: what waits for it in memory is
 * bounded, and neither the data plane nor other readers wait for anyone.
 */
import type { ServerResponse } from "node:http";
import { DataplaneError } from "../../dataplane/dataplane.ts";
import { Problem } from "../errors.ts";
import { type Capture, startCapture } from "../sessions/capture.ts";
import type { Routes } from "./context.ts";
import { parseTeid, parseUe } from "./management-routes.ts";
import * as schemas from "./schemas.ts";

const readersAtMost = 64;
/** Octets that may wait for one reader. */
const backlog = { events: 1 << 20, capture: 64 << 20 };
const heartbeatMs = 15_000;

interface CaptureQuery {
  ue?: string;
  teid?: string;
  layer?: "outer" | "inner" | "both";
  snap?: number;
  packets?: number;
  seconds?: number;
}

export const streamRoutes: Routes = (app, { events, capture }) => {
  const open = new Set<ServerResponse>();
  // Streams would keep the server from closing.
  app.addHook("preClose", (done) => {
    for (const response of open) {
      response.end();
      setTimeout(() => response.destroy(), 1000).unref(); // a reader that does not read
    }
    done();
  });

  app.get(
    "/api/v1/events",
    {
      exposeHeadRoute: false,
      schema: {
        tags: ["Management"],
        summary: "Events, as server-sent events; the data of each is one JSON object",
        querystring: schemas.nothing,
        produces: ["text/event-stream"],
        response: { ...schemas.commonProblems },
      },
    },
    (_request, reply) => {
      if (open.size >= readersAtMost) throw new Problem("limit-reached", `${readersAtMost} streams are open already`);
      reply.hijack();
      const response = reply.raw as ServerResponse;
      response.writeHead(200, {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
      });
      response.write(": hello\n\n");
      const write = (text: string) => {
        if (response.writableLength > backlog.events) response.destroy();
        else response.write(text);
      };
      const stop = events.on((event, number) => {
        write(`id: ${number}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
      });
      const heartbeat = setInterval(() => write(": still here\n\n"), heartbeatMs);
      heartbeat.unref();
      open.add(response);
      response.on("error", () => response.destroy());
      response.on("close", () => {
        clearInterval(heartbeat);
        open.delete(response);
        stop();
      });
    },
  );

  app.get<{ Querystring: CaptureQuery }>(
    "/api/v1/capture",
    {
      config: { role: "operator", audit: "read" },
      exposeHeadRoute: false,
      schema: {
        tags: ["Management"],
        summary: "Packets from the program itself, as pcapng; each carries the name of what happened to it",
        querystring: schemas.captureQuery,
        produces: ["application/x-pcapng"],
        response: { ...schemas.commonProblems, ...schemas.conflict, ...schemas.notInRelease },
      },
    },
    (request, reply) => {
      if (!capture) throw new Problem("not-in-release", "this data plane cannot capture");
      const { layer = "outer", snap, packets, seconds } = request.query;
      const options = {
        outer: layer !== "inner",
        inner: layer !== "outer",
        ue: parseUe(request.query.ue),
        teid: parseTeid(request.query.teid),
        snap,
        count: packets,
      };
      const response = reply.raw as ServerResponse;
      const early: Uint8Array[] = [];
      let live = false;
      let running: Capture;
      try {
        running = startCapture(capture, options, (octets) => {
          if (!live) early.push(octets);
          else if (response.writableLength > backlog.capture) response.destroy();
          else response.write(octets);
        });
      } catch (error) {
        if (error instanceof DataplaneError) throw new Problem("busy", error.message, { object: error.object });
        throw error;
      }
      reply.hijack();
      live = true;
      response.writeHead(200, { "content-type": "application/x-pcapng", "cache-control": "no-store" });
      response.flushHeaders();
      for (const octets of early) response.write(octets);
      open.add(response);
      const timer = seconds === undefined ? undefined : setTimeout(() => running.stop(), seconds * 1000);
      response.on("error", () => response.destroy());
      response.on("close", () => {
        clearTimeout(timer);
        open.delete(response);
        running.stop();
      });
      void running.ended.then(() => response.end());
    },
  );
};
