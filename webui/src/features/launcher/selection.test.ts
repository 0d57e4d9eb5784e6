import { expect, test } from 'vitest'
import { type Image, select } from './selection'

const image = (id: string, language: string, version: string): Image => ({
  id,
  language,
  version,
  reference: `${language}:${version}`,
  installed: true,
  minimumSlots: [],
})
const images = [image('2', 'python', '3.12'), image('1', 'python', '3.11'), image('3', 'base', '12')]

test('each language is there once, in order', () => {
  expect(select(images, { language: '', imageId: '' }).languages).toEqual(['base', 'python'])
})

test('what was chosen is kept', () => {
  const { language, image } = select(images, { language: 'python', imageId: '1' })
  expect([language, image?.version]).toEqual(['python', '3.11'])
})

test.each([
  ['a language that is gone gives the first', { language: 'r', imageId: '9' }, '3'],
  ['an image that is gone gives the first of its language', { language: 'python', imageId: '9' }, '2'],
  ['an image of another language does not count', { language: 'base', imageId: '1' }, '3'],
])('%s', (_, form, id) => expect(select(images, form).image?.id).toBe(id))

test('without images nothing is selected', () => {
  expect(select([], { language: 'python', imageId: '1' })).toEqual({
    languages: [],
    language: '',
    versions: [],
    image: undefined,
  })
})
