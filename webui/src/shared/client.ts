/** The API client: a normalised cache, patched by subscriptions over one websocket that reconnects by itself. */

import { authExchange } from '@urql/exchange-auth'
import { cacheExchange } from '@urql/exchange-graphcache'
import { createClient } from 'graphql-ws'
import { Client, fetchExchange, subscriptionExchange } from 'urql'
import { forget, freshToken, refresh } from './auth'
import { setConnection } from './connection'

/** What has an id is cached under it; everything else lives in the object that holds it. */
const byId = (data: { id?: unknown }) => (typeof data.id === 'string' ? data.id : null)
const keys = new Proxy<Record<string, typeof byId>>({}, { get: () => byId })

const socket = createClient({
  url: () => `${location.origin.replace('http', 'ws')}/graphql`,
  connectionParams: async () => ({ accessToken: await freshToken() }),
  keepAlive: 12_000,
  retryAttempts: Number.POSITIVE_INFINITY,
  retryWait: async (retries) => {
    const ceiling = Math.min(10_000, 250 * 2 ** retries)
    await new Promise((resolve) => setTimeout(resolve, Math.random() * ceiling))
  },
  shouldRetry: () => true,
  on: {
    connected: () => setConnection('open'),
    closed: (event) => {
      setConnection('lost')
      if ((event as CloseEvent).code === 4403) void refresh().then((token) => token ?? forget())
    },
  },
})

export const client = new Client({
  url: '/graphql',
  preferGetMethod: false,
  exchanges: [
    cacheExchange({ keys }),
    authExchange(async () => ({
      addAuthToOperation: (operation) => operation,
      didAuthError: (error) => error.graphQLErrors.some((one) => one.extensions?.code === 'UNAUTHENTICATED'),
      refreshAuth: async () => {
        if (!(await refresh())) forget()
      },
    })),
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: (request) => ({
        subscribe: (sink) => ({
          unsubscribe: socket.subscribe({ query: request.query ?? '', variables: request.variables }, sink),
        }),
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
