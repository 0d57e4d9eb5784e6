import { expect, test } from 'vitest'
import { type Availability, judge, raise } from './verdict'

const free: Availability = {
  slots: [
    { name: 'cpu', limit: '8', used: '2', largestFree: '4', largestCapacity: '16' },
    { name: 'mem', limit: null, used: '0', largestFree: '4096', largestCapacity: '8192' },
  ],
  sessions: { limit: 3, used: 1 },
}

test.each([
  ['what one node has free', { cpu: 4, mem: 4096 }, 'fits'],
  ['more than one node has free', { cpu: 1, mem: 4097 }, 'waits'],
  ['more than is left of the limit', { cpu: 7, mem: 1 }, 'waits'],
  ['more than any node has', { cpu: 1, mem: 8193 }, 'never'],
  ['more than the limit', { cpu: 8.5, mem: 1 }, 'overLimit'],
  ['more than the limit and than any node', { cpu: 17, mem: 1 }, 'overLimit'],
])('%s', (_, wanted, verdict) => expect(judge(wanted, free)).toBe(verdict))

test('as many sessions as one may have: it waits', () => {
  expect(judge({ cpu: 1, mem: 1 }, { ...free, sessions: { limit: 3, used: 3 } })).toBe('waits')
  expect(judge({ cpu: 1, mem: 1 }, { ...free, sessions: { limit: null, used: 300 } })).toBe('fits')
})

test('an image raises what is too little and leaves the rest', () => {
  expect(
    raise({ cpu: 0.5, mem: 100 }, [
      { name: 'mem', amount: '200' },
      { name: 'cuda.device', amount: '1' },
    ]),
  ).toEqual({
    cpu: 0.5,
    mem: 200,
    'cuda.device': 1,
  })
})
