// What the form has as text and a request as JSON: filters and rerank stages.

import { readFilters } from "./filters.js";
import { readStages } from "./stages.js";

const READERS = { filters: readFilters, stages: readStages };

/** The filters and stages of a state, each null for none. Throws an `Error` whose `field` cannot be read. */
export function readTyped(state) {
  const read = ([field, reader]) => {
    try {
      return [field, reader(state[field])];
    } catch (error) {
      throw Object.assign(error, { field });
    }
  };
  return Object.fromEntries(Object.entries(READERS).map(read));
}
