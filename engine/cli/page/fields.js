// What a field of an answer is, and which fields were shown.

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const isText = (value) => typeof value === "string" && value !== "";
export const isBool = (value) => typeof value === "boolean";
export const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const isNumbers = (value) => isObject(value) && Object.values(value).every(isNumber);
export const isList = (value) => Array.isArray(value);

/** The fields of an answer, and which of them were shown. */
export class Fields {
  constructor(answer) {
    this.all = isObject(answer) ? answer : { answer };
    this.taken = new Set();
  }

  /** The field, where it is what is expected; it is shown then. */
  take(name, expected) {
    const value = this.all[name];
    if (value === undefined || !expected(value)) return undefined;
    this.taken.add(name);
    return value;
  }

  rest() {
    return Object.entries(this.all).filter(([name]) => !this.taken.has(name));
  }
}
