/// <reference types="vite/client" />
import { expect, test } from 'vitest'
import en from './en.json'
import ko from './ko.json'

const sources = import.meta.glob<string>('../../**/*.{ts,tsx}', {
  query: '?raw',
  import: 'default',
  eager: true,
})

function flat(node: object, prefix = ''): [string, string][] {
  return Object.entries(node).flatMap(([name, value]): [string, string][] =>
    typeof value === 'object' ? flat(value, `${prefix}${name}.`) : [[`${prefix}${name}`, value as string]],
  )
}

const placeholders = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map((match) => match[1]).sort()

test('both languages say the same things', () => {
  expect(
    flat(ko)
      .map(([key]) => key)
      .sort(),
  ).toEqual(
    flat(en)
      .map(([key]) => key)
      .sort(),
  )
})

test('both languages fill in the same values', () => {
  const korean = new Map(flat(ko))
  for (const [key, text] of flat(en))
    expect([key, placeholders(korean.get(key) ?? '')]).toEqual([key, placeholders(text)])
})

test('nothing is left empty', () => {
  expect([...flat(en), ...flat(ko)].filter(([, text]) => text.trim() === '')).toEqual([])
})

test('every key that is named in the code exists', () => {
  const known = new Set(flat(en).map(([key]) => key.replace(/_(one|other)$/, '')))
  const named = Object.values(sources).flatMap((source) =>
    [...source.matchAll(/\bt\(\s*'([\w.]+)'/g)].map((match) => match[1] ?? ''),
  )
  expect(named.length).toBeGreaterThan(60)
  expect(named.filter((key) => !known.has(key))).toEqual([])
})
