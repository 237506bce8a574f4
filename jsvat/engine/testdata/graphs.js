'use strict';
let seed = 12345;
const random = n => {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return (seed >>> 8) % n;
};
const symbol = Symbol('s');
const kinds = [
  () => [],
  i => () => i,
  () => new Map([[1, {}]]),
  objects => Object.create(objects.length ? objects[random(objects.length)] : null),
  () => new (class A { #p = 1; m() {} static s() {} })(),
  () => Error('e'),
  () => Promise.resolve({}),
  () => new Proxy({}, {}),
  () => (random(4) ? {} : new Uint8Array(4)),
  () => new Date(0),
  () => /x/,
  () => (function () { return arguments; })(1, {}),
  () => Object('text'),
  () => async function* () {},
];
const make = () => {
  const objects = [];
  const n = 1 + random(40);
  for (let i = 0; i < n; i++) objects.push(kinds[random(kinds.length)](objects));
  for (let i = 0; i < n * 3; i++) {
    const a = objects[random(n)];
    const b = objects[random(n)];
    const key = random(6) ? `k${random(8)}` : symbol;
    try {
      if (random(6) === 0) Object.defineProperty(a, key, { get: () => b, set(x) {}, configurable: true, enumerable: !!random(2) });
      else if (Array.isArray(a) && random(2)) a.push(b);
      else a[key] = random(3) ? b : i;
    } catch {} // not every object takes every property
  }
  return objects;
};
const isObject = x => (typeof x === 'object' && x !== null) || typeof x === 'function';
let objects = 0;
let graphs = 0;
let thrown = 0;
const fault = root => {
  const found = new Set([root]);
  for (const o of found) {
    objects++;
    if (!Object.isFrozen(o) && !(o instanceof Uint8Array && !Object.isExtensible(o))) return `an object is not frozen: ${Object.prototype.toString.call(o)}`;
    const prototype = Object.getPrototypeOf(o);
    if (prototype) found.add(prototype);
    for (const key of Reflect.ownKeys(o)) {
      const d = Object.getOwnPropertyDescriptor(o, key);
      for (const x of [d.value, d.get, d.set]) if (isObject(x)) found.add(x);
    }
  }
  return '';
};
harden(Object.prototype); // as lockdown would
harden(Function.prototype);
globalThis.check = n => {
  for (let i = 0; i < n; i++) {
    const all = make();
    const root = all[random(all.length)];
    const before = JSON.stringify(Reflect.ownKeys(root).map(String));
    try {
      if (harden(root) !== root) return 'harden answers something else';
    } catch (e) {
      if (!all.some(o => o instanceof Uint8Array)) return `harden throws ${e}`;
      thrown++;
      continue;
    }
    graphs++;
    const text = fault(root);
    if (text) return `graph ${i}: ${text}`;
    if (JSON.stringify(Reflect.ownKeys(root).map(String)) !== before) return `graph ${i}: harden changed the properties`;
    if (harden(root) !== root) return 'harden of a hardened object answers something else';
  }
  return '';
};
globalThis.summary = () => (graphs > 200 && objects > 20000 && thrown > 2 ? 'enough' : `${graphs} graphs, ${objects} objects, ${thrown} thrown`);
