/** No two of these are the same; unlike `crypto.randomUUID` it works where there is no TLS. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('')
}
