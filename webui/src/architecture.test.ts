/// <reference types="vite/client" />
import { expect, test } from 'vitest'

const sources = import.meta.glob<string>('./**/*.{ts,tsx}', { query: '?raw', import: 'default', eager: true })

/** Folders under src/ and, for features, the feature: './features/terminal/line.ts' → 'features/terminal'. */
function place(path: string): string {
  const parts = path.split('/').slice(1)
  return parts[0] === 'features' ? parts.slice(0, 2).join('/') : parts.length > 1 ? (parts[0] ?? '') : 'entry'
}

function imports(path: string, source: string): string[] {
  const found = [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((match) => match[1] ?? '')
  return found.map((one) => `.${new URL(one, `http://x${path.slice(1)}`).pathname}`)
}

const edges = Object.entries(sources)
  .filter(([path]) => !path.startsWith('./gql/') && !path.includes('.test.'))
  .flatMap(([path, source]) =>
    imports(path, source).map((target) => ({ path, from: place(path), to: place(target) })),
  )

test('there are imports to look at, of features as well', () => {
  expect(edges.filter((edge) => edge.from.startsWith('features/')).length).toBeGreaterThan(50)
})

test('features never import each other', () => {
  const crossing = edges.filter(
    ({ from, to }) => from.startsWith('features/') && to.startsWith('features/') && from !== to,
  )
  expect(crossing).toEqual([])
})

test('what is shared knows nothing of features and of the application around them', () => {
  expect(
    edges.filter(({ from, to }) => from === 'shared' && (to === 'app' || to.startsWith('features/'))),
  ).toEqual([])
})

test('there is no barrel file', () => {
  expect(
    Object.keys(sources).filter((path) => /\/index\.tsx?$/.test(path) && !path.startsWith('./gql/')),
  ).toEqual([])
})
