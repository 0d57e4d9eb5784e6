import { ActionIcon, Group, Text } from '@mantine/core'
import { IconChevronLeft, IconChevronRight } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import { graphql } from '../gql'
import type { BoundsFragment } from '../gql/graphql'

export type Place = { after?: string; before?: string }
type Page = { totalCount: number; totalCountIsExact: boolean; pageInfo: BoundsFragment }

export const BOUNDS = graphql(`
  fragment Bounds on PageInfo {
    hasNextPage
    hasPreviousPage
    startCursor
    endCursor
  }
`)

/** Arguments of a connection for the page at a place. */
export function pageArguments(size: number, { after, before }: Place) {
  return before ? { last: size, before } : { first: size, after: after ?? null }
}

/** How many there are, and the way to the page before and after. */
export function Pager({ page, onGo }: { page: Page; onGo: (place: Place) => void }) {
  const { t } = useTranslation()
  const { hasNextPage, hasPreviousPage, startCursor, endCursor } = page.pageInfo
  return (
    <Group justify="space-between" mt="sm">
      <Text size="sm" c="dimmed">
        {t('app.count', { count: page.totalCount })}
        {page.totalCountIsExact ? '' : ' +'}
      </Text>
      {(hasNextPage || hasPreviousPage) && (
        <Group gap="xs">
          <ActionIcon
            variant="default"
            aria-label={t('app.previous')}
            disabled={!hasPreviousPage}
            onClick={() => onGo({ before: startCursor ?? '' })}
          >
            <IconChevronLeft size={16} aria-hidden />
          </ActionIcon>
          <ActionIcon
            variant="default"
            aria-label={t('app.next')}
            disabled={!hasNextPage}
            onClick={() => onGo({ after: endCursor ?? '' })}
          >
            <IconChevronRight size={16} aria-hidden />
          </ActionIcon>
        </Group>
      )}
    </Group>
  )
}
