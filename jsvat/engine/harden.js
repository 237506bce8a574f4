// Defines globalThis.harden, which SES takes for its own where it is there before SES. It has the rules of SES's: freeze, go on to the
// values of own properties and to the prototype, and remember the objects only when all of them are frozen.
'use strict';
(() => {
  const { nativeHarden } = globalThis;
  delete globalThis.nativeHarden;
  const { freeze, getOwnPropertyDescriptor, getPrototypeOf, preventExtensions, defineProperty } = Object;
  const { ownKeys, apply } = Reflect;
  const { has, add } = WeakSet.prototype;
  const hardened = new WeakSet();
  const isObject = x => (typeof x === 'object' && x !== null) || typeof x === 'function';
  const typedArrayTag = getOwnPropertyDescriptor(getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get;

  // A typed array cannot be frozen: its elements stay writable, as SES leaves them.
  const freezeTypedArray = a => {
    preventExtensions(a);
    for (const key of ownKeys(a)) {
      const descriptor = getOwnPropertyDescriptor(a, key);
      const isElement = typeof key === 'string' && String(+key) === key;
      if (!isElement) defineProperty(a, key, { ...descriptor, writable: false, configurable: false });
    }
  };

  // What the native hardener leaves: proxies, typed arrays, and large graphs.
  const hardenSlowly = root => {
    const found = new Set([root]);
    const find = x => {
      if (isObject(x) && !apply(has, hardened, [x])) found.add(x);
    };
    for (const object of found) {
      if (apply(typedArrayTag, object, []) === undefined) freeze(object);
      else freezeTypedArray(object);
      find(getPrototypeOf(object));
      for (const key of ownKeys(object)) {
        const { value, get, set } = getOwnPropertyDescriptor(object, key);
        find(value);
        find(get);
        find(set);
      }
    }
    for (const object of found) apply(add, hardened, [object]);
  };

  globalThis.harden = function harden(root) {
    if (isObject(root) && !apply(has, hardened, [root]) && !nativeHarden(root, hardened, has, add)) hardenSlowly(root);
    return root;
  };
})();
