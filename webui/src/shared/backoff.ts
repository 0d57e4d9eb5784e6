/** Waiting before the next try to connect. */

/** Milliseconds: doubled with each try up to `most`, and anywhere below, so that not all come back in the same moment. */
export function delay(tries: number, most: number): number {
  return Math.random() * Math.min(most, 250 * 2 ** tries)
}

/** Resolves after so many milliseconds, or as soon as the network is there again. */
export function waitOrOnline(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      removeEventListener('online', done)
      resolve()
    }
    const timer = setTimeout(done, milliseconds)
    addEventListener('online', done)
  })
}
