import { createInstance } from 'i18next'
import { expect, test } from 'vitest'
import en from '../../shared/i18n/en.json'
import ko from '../../shared/i18n/ko.json'
import { quantity, type Reason, reasonText } from './reasons'

const i18n = createInstance({
  lng: 'en',
  resources: { en: { translation: en }, ko: { translation: ko } },
  interpolation: { escapeValue: false },
})
await i18n.init()

const common = { code: '', message: '', position: 3, estimatedStartAt: null }
const fits = {
  ...common,
  __typename: 'NoAgentFits',
  slot: 'cpu',
  asked: '2',
  nearestFree: '1',
  largestFree: '1.9',
  largestCapacity: '16',
  onOneDevice: false,
  never: false,
  unconnected: false,
} as const
const limit = {
  ...common,
  __typename: 'LimitReached',
  scope: 'GROUP',
  slot: 'cuda.shares',
  asked: '0.3',
  used: '3.8',
  limit: '4',
  holder: { __typename: 'Group', id: 'grp_1', name: 'vision' },
} as const

test.each<[string, Reason]>([
  ['It asks for 2 cpu; no node has more than 1.9 cpu free.', fits],
  ['It asks for 2 cpu; the node that comes nearest has 1 cpu free.', { ...fits, largestFree: '8' }],
  ['It asks for 64 cpu; the largest node has 16 cpu in all.', { ...fits, asked: '64', never: true }],
  ['It asks for more together than any node has, even empty.', { ...fits, never: true }],
  [
    'It asks for 0.5 GPU in one piece; no suitable node has a device with so much free.',
    { ...fits, slot: 'cuda.shares', asked: '0.5', onOneDevice: true },
  ],
  ['It asks for 0.3 GPU; the project vision already uses 3.8 GPU of its 4 GPU.', limit],
  [
    'The project vision already has 2 of its 2 sessions.',
    { ...limit, slot: 'sessions', asked: '1', used: '2', limit: '2' },
  ],
  [
    'A limit that you may not see has no room for it now.',
    { ...limit, used: null, limit: null, holder: null },
  ],
])('it says: %s', (text, reason) => expect(reasonText(i18n.t, reason, 'en')).toBe(text))

test('it says the same in Korean, with the same numbers', () => {
  const text = reasonText(i18n.getFixedT('ko'), fits, 'ko')
  expect(text).toContain('1.9 cpu')
  expect(text).not.toContain('asks')
})

test('amounts have units for people', () => {
  expect(quantity('mem', '2147483648')).toBe('2 GiB')
  expect(quantity('cuda.device', '1')).toBe('1 GPU')
  expect(quantity('tpu.chip', '2')).toBe('2 tpu.chip')
})
