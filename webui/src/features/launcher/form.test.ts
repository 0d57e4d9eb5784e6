import { beforeEach, expect, test } from 'vitest'
import { GIB, like, nameable, remember, remembered, request, sizeOf } from './form'

beforeEach(() => localStorage.clear())

test('the last choices come back, without what may be secret', () => {
  remember({ ...remembered(), language: 'Python', cpu: 3, memory: 6, command: 'token=1', name: 'x' }, 'img_1')
  expect(remembered()).toMatchObject({
    language: 'Python',
    imageId: 'img_1',
    cpu: 3,
    memory: 6,
    command: '',
    name: '',
  })
  expect(JSON.stringify(localStorage)).not.toContain('token=1')
})

test('what cannot be read is forgotten', () => {
  localStorage.setItem('berth.my.launcher', '{broken')
  expect(remembered().cpu).toBe(0.5)
})

test('sizes are recognised by their amounts', () => {
  expect(sizeOf({ cpu: 1, memory: 2 })).toBe('medium')
  expect(sizeOf({ cpu: 1, memory: 3 })).toBe('custom')
})

test('a request says memory in whole bytes and leaves out variables without a name', () => {
  const form = {
    ...remembered(),
    memory: 0.3,
    variables: [
      { key: '1', name: 'A', value: '1' },
      { key: '2', name: '', value: 'lost' },
    ],
  }
  const made = request(form, { groupId: 'g', resourceGroupId: 'r', imageId: 'i' })
  expect(made.slots[1]?.amount).toBe(String(Math.round(0.3 * GIB)))
  expect(made.environ).toEqual([{ name: 'A', value: '1' }])
})

test('a session of before fills the form', () => {
  const again = like({
    id: 'ses_1',
    type: 'BATCH',
    startupCommand: 'make',
    clusterSize: 2,
    clusterMode: 'MULTI_NODE',
    image: { id: 'img_1', language: 'Python' },
    slots: [
      { name: 'cpu', amount: '4' },
      { name: 'mem', amount: String(8 * GIB) },
    ],
    environ: [{ name: 'A', value: '1' }],
  } as never)
  expect(again).toMatchObject({ cpu: 2, memory: 4, batch: true, command: 'make', imageId: 'img_1' })
  expect(again).toMatchObject({ containers: 2, severalNodes: true })
  expect(again?.variables).toMatchObject([{ name: 'A', value: '1' }])
  expect(like(null)).toBeNull()
})

test.each([
  ['', true],
  ['a', true],
  ['train-2.best_one', true],
  ['-first', false],
  ['last.', false],
  ['with space', false],
  ['세션', false],
  ['x'.repeat(64), true],
  ['x'.repeat(65), false],
])('%s as a name: %s', (name, good) => expect(nameable(name)).toBe(good))
