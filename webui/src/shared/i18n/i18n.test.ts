import { expect, test } from 'vitest'
import en from './en.json'
import ko from './ko.json'

function keys(node: object, prefix = ''): string[] {
  return Object.entries(node).flatMap(([name, value]) =>
    typeof value === 'object' ? keys(value, `${prefix}${name}.`) : [`${prefix}${name}`],
  )
}

test('both languages say the same things', () => {
  expect(keys(ko)).toEqual(keys(en))
})
