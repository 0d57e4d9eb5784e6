import { Paper, SimpleGrid, Text, Title } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import { amount, moment } from '../../shared/format'
import type { DetailedSession } from './documents'

/** What is known of a session, each under its name; what is not known is left out. */
export function SessionFacts({ session }: { session: DetailedSession }) {
  const { t, i18n } = useTranslation()
  const end = session.expectedEnd
    ? t('session.endsAt', {
        at: moment(session.expectedEnd.at, i18n.language),
        why: t(`session.end.${session.expectedEnd.cause}`),
      })
    : t('session.never')
  const facts: [string, string | null | undefined][] = [
    [t('session.image'), session.image?.reference],
    [t('app.project'), session.group?.name],
    [t('app.resourceGroup'), session.resourceGroup?.name],
    [
      t('session.node'),
      [...new Set(session.kernels.map((one) => one.agent?.name))].filter(Boolean).join(', '),
    ],
    [t('session.slots'), session.slots.map((slot) => `${slot.name} ${amount(slot)}`).join(', ')],
    [t('session.raised'), session.raised.map((slot) => `${slot.name} ${amount(slot)}`).join(', ')],
    [t('session.created'), moment(session.createdAt, i18n.language)],
    [t('session.started'), session.startedAt && moment(session.startedAt, i18n.language)],
    [t('session.terminated'), session.terminatedAt && moment(session.terminatedAt, i18n.language)],
    [t('session.ends'), session.status === 'RUNNING' ? end : null],
    [t('session.exitCode'), session.exitCode?.toString()],
    [t('session.command'), session.startupCommand],
  ]
  return (
    <Paper className="card" radius="md" p="lg">
      <Title order={2} size="h5" mb="sm">
        {t('session.details')}
      </Title>
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="lg" verticalSpacing="sm">
        {facts
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <div key={name}>
              <Text size="xs" c="dimmed">
                {name}
              </Text>
              <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
                {value}
              </Text>
            </div>
          ))}
      </SimpleGrid>
    </Paper>
  )
}
