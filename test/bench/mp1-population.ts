/**
 * Which apps and services does the benchmark of Mp1 have?
 */
import { category, offer } from "../mep/fixtures.ts";

export const apps = 1000;
export const servicesOfEach = 10;
export const appName = (n: number): string => `app-${n % apps}`;
/** Ten services in each of 1 000 categories; every name is unique. */
export const offerOf = (n: number, more: object = {}): object =>
  offer(`service-${n}`, { serCategory: category(`category-${n % 1000}`), ...more });
