import { expect, test, vi } from 'vitest'
import { amount, bytes, duration, moment } from './format'

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1 KiB'],
  [1536, '1.50 KiB'],
  [268_435_456, '256 MiB'],
  ['1073741824', '1 GiB'],
  [2 ** 50, '1024 TiB'],
])('%s bytes read %s', (value, text) => expect(bytes(value)).toBe(text))

test.each([
  [0, '0s'],
  [59, '59s'],
  [60, '1m 0s'],
  [3661, '1h 1m'],
  [90_000, '1d 1h'],
])('%i seconds read %s', (seconds, text) => expect(duration(seconds)).toBe(text))

test('memory is shown as a size, everything else as it is', () => {
  expect(amount({ name: 'mem', amount: '536870912' })).toBe('512 MiB')
  expect(amount({ name: 'cuda.mem', amount: '1024', type: { unit: 'BYTES' } })).toBe('1 KiB')
  expect(amount({ name: 'cpu', amount: '1.5' })).toBe('1.5')
})

test.each([
  [['en-GB', 'en'], 'en', '24 Nov 2026'],
  [['en-US'], 'en', 'Nov 24, 2026'],
  [['en-GB', 'ko-KR'], 'ko', '2026. 11. 24.'],
  [['de-DE'], 'en', 'Nov 24, 2026'],
])('a reader of %s who has the console in %s sees %s', (languages, language, shown) => {
  vi.spyOn(navigator, 'languages', 'get').mockReturnValue(languages)
  expect(moment('2026-11-24T12:00:00Z', language)).toContain(shown)
})
