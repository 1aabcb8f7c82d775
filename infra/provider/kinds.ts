/**
 * Which kinds of resources are there?
 */
import type { Kind } from "./kind.ts";
import { service } from "./kinds/service.ts";

export const kinds: readonly Kind[] = [service];
