/** The API client: a normalised cache, patched by subscriptions over one websocket that reconnects by itself. */

import { authExchange } from '@urql/exchange-auth'
import { cacheExchange } from '@urql/exchange-graphcache'
import { retryExchange } from '@urql/exchange-retry'
import { createClient } from 'graphql-ws'
import { Client, fetchExchange, subscriptionExchange } from 'urql'
import { freshToken, refresh } from './auth'
import { delay, waitOrOnline } from './backoff'
import { closed, connecting, opened } from './connection'
import { resumable } from './resume'

/** What has an id is cached under it; everything else lives in the object that holds it. */
const byId = (data: { id?: unknown }) => (typeof data.id === 'string' ? data.id : null)
const keys = new Proxy<Record<string, typeof byId>>({}, { get: () => byId })

/** Milliseconds between signs of life, and how long an answer to one may take. */
const PING_EVERY = 12_000
const PONG_WITHIN = 6000
/** The server's close code for a login that has ended. */
const LOGIN_ENDED = 4403

/** The websocket of one login; reconnects by itself until it is disposed of. */
function openSocket() {
  let unanswered: ReturnType<typeof setTimeout> | undefined
  const socket = createClient({
    url: () => `${location.origin.replace('http', 'ws')}/graphql`,
    connectionParams: async () => ({ accessToken: await freshToken() }),
    keepAlive: PING_EVERY,
    retryAttempts: Number.POSITIVE_INFINITY,
    retryWait: (tries) => waitOrOnline(delay(tries, 10_000)),
    shouldRetry: () => true,
    on: {
      connecting,
      connected: opened,
      // A cut network closes nothing: what does not answer in time is lost.
      ping: (received) => {
        if (!received) unanswered = setTimeout(() => socket.terminate(), PONG_WITHIN)
      },
      pong: (received) => {
        if (received) clearTimeout(unanswered)
      },
      closed: (event) => {
        clearTimeout(unanswered)
        const { code, wasClean } = event as CloseEvent
        closed(code === 1000 && wasClean !== false)
        if (code === LOGIN_ENDED) void refresh()
      },
    },
  })
  return socket
}

/**
 * A client with an empty cache and a websocket of its own: one for each login, for what one user has read is not for the
 * next. `close` ends the websocket.
 */
export function makeClient(): { client: Client; close: () => void } {
  const socket = openSocket()
  const cut = () => socket.terminate()
  addEventListener('offline', cut)
  const client = new Client({
    url: '/graphql',
    preferGetMethod: false,
    exchanges: [
      cacheExchange({ keys }),
      authExchange(async () => ({
        addAuthToOperation: (operation) => operation,
        didAuthError: (error) =>
          error.graphQLErrors.some((one) => one.extensions?.code === 'UNAUTHENTICATED'),
        refreshAuth: async () => {
          await refresh()
        },
      })),
      // Reading again harms nothing; a mutation may have been carried out although its answer was lost.
      retryExchange({
        maxNumberAttempts: 3,
        retryIf: (error, operation) => operation.kind === 'query' && error.networkError !== undefined,
      }),
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: (request) => ({
          subscribe: (sink) => {
            const stream = resumable(request.query ?? '', request.variables ?? {})
            const next: typeof sink.next = (result) => {
              stream.see(result)
              sink.next(result)
            }
            return { unsubscribe: socket.subscribe(stream.payload, { ...sink, next }) }
          },
        }),
      }),
    ],
    fetch: async (input, init) => {
      const token = await freshToken()
      const headers = new Headers(init?.headers)
      if (token) headers.set('authorization', `Bearer ${token}`)
      return fetch(input, { ...init, headers, credentials: 'same-origin' })
    },
  })
  return {
    client,
    close: () => {
      removeEventListener('offline', cut)
      // Refused where it waits to connect again and nothing is subscribed to any more: then there is nothing to close.
      Promise.resolve(socket.dispose()).catch(() => undefined)
    },
  }
}
