import { MantineProvider } from '@mantine/core'
import { cleanup, render, screen } from '@testing-library/react'
import { Client, fetchExchange, Provider, useQuery } from 'urql'
import { afterEach, expect, test, vi } from 'vitest'
import { FEATURES, PlaygroundLink } from './PlaygroundLink'
import '../shared/i18n/i18n'

vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener() {}, removeEventListener() {} }))
afterEach(cleanup)

function Answered() {
  const [{ data }] = useQuery({ query: FEATURES })
  return data && <p>answered</p>
}

/** Shows the link as it is once the server has said which features it has. */
async function show(features: string[]) {
  const fetch = async () => Response.json({ data: { server: { features } } })
  const client = new Client({ url: '/graphql', exchanges: [fetchExchange], fetch, preferGetMethod: false })
  render(
    <MantineProvider>
      <Provider value={client}>
        <PlaygroundLink />
        <Answered />
      </Provider>
    </MantineProvider>,
  )
  await screen.findByText('answered')
}

test('leads to the playground of a server that has one', async () => {
  await show(['INTROSPECTION', 'PLAYGROUND'])
  expect(screen.getByRole('link', { name: 'API playground' }).getAttribute('href')).toBe('/graphql')
})

test('is not there where the server has no playground', async () => {
  await show(['INTROSPECTION'])
  expect(screen.queryByRole('link')).toBeNull()
})
