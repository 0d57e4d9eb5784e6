import 'graphiql/setup-workers/vite'
import 'graphiql/style.css'
import { createGraphiQLFetcher } from '@graphiql/toolkit'
import { GraphiQL } from 'graphiql'
import { createClient } from 'graphql-ws'
import { createRoot } from 'react-dom/client'
import { freshToken, refresh } from './shared/auth'

const fetcher = createGraphiQLFetcher({
  url: '/graphql',
  fetch: async (input, init) => {
    const token = await freshToken()
    const headers = new Headers(init?.headers)
    if (token && !headers.has('authorization')) headers.set('authorization', `Bearer ${token}`)
    return fetch(input, { ...init, headers })
  },
  wsClient: createClient({
    url: `${location.origin.replace('http', 'ws')}/graphql`,
    connectionParams: async () => ({ accessToken: await freshToken() }),
  }),
})

const root = document.getElementById('root')
if (root) {
  root.style.height = '100dvh'
  document.body.style.margin = '0'
  // Who is logged in at the console is logged in here: introspection is for those alone.
  void refresh().finally(() => createRoot(root).render(<GraphiQL fetcher={fetcher} />))
}
